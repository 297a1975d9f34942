"""The numbers, and the HTTP server that shows them.

registry   the numbers on a registry
catalogue  every metric, declared once
http       /metrics, /livez, /readyz
"""
