"""The numbers, and the HTTP server that shows them.

registry   the numbers on a registry
catalogue  every metric, declared once
readings   what is read at each scrape
http       /metrics, /livez, /readyz
"""
