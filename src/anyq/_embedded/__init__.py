"""The parts of the embedded server; :mod:`anyq.embedded` is the door.

Who may use a server is written in the kernel, not in files: everything rests on ``flock``, because a lock is let go
whatever happens to its holder. A directory has three of them (:mod:`.directory` names them):

``users.lock``
    held *shared* by every process that uses the server. The supervisor waits for the *exclusive* lock, gets it when
    the last user is gone, by exit or by SIGKILL, and ends the server.
``server.lock``
    held *exclusively* by the server itself (it inherits the open file), so two servers never write the same data,
    not even when a supervisor or a starter was killed half-way.
``start.lock``
    held *exclusively* while somebody starts the server: the others wait, and then find it running.
"""
