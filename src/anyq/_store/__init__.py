"""Verbs: what a queue can do to Redis, in the words of the domain.

The only place that joins keys with commands. Each script in ``lua/`` has its verb here, under the same name; scripts
are atomic, check the owner where a worker acts, and may be sent again after a lost reply. Nothing here retries: that is
the services' business.
"""
