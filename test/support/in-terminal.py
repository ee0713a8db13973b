"""Runs a program on a terminal of its own: in-terminal.py COLUMNS ROWS PROGRAM ARGS…

What it writes there comes out of standard output; what comes into standard input is typed there. Ends with the program, and with its code.
"""
import fcntl
import os
import pty
import select
import struct
import sys
import termios

columns, rows, *command = sys.argv[1:]
# The test runner adds options of its own to the environment of every process; a user's program has none.
os.environ.pop("NODE_OPTIONS", None)
pid, master = pty.fork()
if pid == 0:
    # The size is there before the program looks.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))
    os.execvp(command[0], command)
typed = [0]
while True:
    ready, _, _ = select.select([master, *typed], [], [])
    if master in ready:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        os.write(1, data)
    if 0 in ready:
        data = os.read(0, 1024)
        if data:
            os.write(master, data)
        else:
            typed = []
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
