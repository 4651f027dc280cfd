"""What `bench new` writes: one small component of each kind, and a suite, which run as they are.

Each is an ordinary file that is checked like the rest; a copy bears another name in place of `example` and `Example`.
"""
