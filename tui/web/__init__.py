"""The console in a browser: each tab is a console process of its own, shown by textual-serve's terminal.

There is no login. What stands between the console and everybody else is: loopback only, an address nobody can guess, and
no request that another site's page makes.
"""
