"""The wire protocol from the other side: `pxarbench serve` started and stopped, a client and a server of our own to talk to
it and to the client, a line between the two that can be cut.

Written from bench/spec/protocol.md alone, with python3-h2 and Python's ssl module: shares no code with the C core.

    serve.py     `pxarbench serve` as a process: where it listens, its fingerprint, its accounts, how it ended
    spoken.py    the same with the scripted client at hand
    accounts.py  names, secrets, and the headers that carry them
    objects.py   what travels: data blobs, indexes, manifests
    client.py    TLS, HTTP/1.1 and HTTP/2 one call at a time, so that any call can be wrong
    peer.py      a server for our client: keeps what is uploaded, watches the rules, lies on demand
    peer_model.py what it answers
    relay.py     a TCP line that counts bytes, delays them, and is cut after any of them
    whole.py     whole snapshots by calls of the scripted client
"""
