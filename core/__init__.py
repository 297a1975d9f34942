"""What every package needs and none owns. Imports nothing of ours.

boundary         where an exception of any type ends, logged with its traceback
errors           the root of all errors
field_types      are the values in a dataclass of the types that its fields are declared with?
files            files written whole, private from birth; names that replace nothing
move_and_delete  files moved and removed: exactly the one that was read, whole at every moment
opening          files from outside: regular, within their folders, of a limited size, opened without waiting
processes        the processes of this computer, and which of them name a folder
text             text from strangers, safe to show
"""
