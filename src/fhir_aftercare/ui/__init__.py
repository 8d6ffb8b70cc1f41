"""The door for people: launched from an EHR's chart, or by itself, to plain pages rendered on the server.

``launching`` and ``charts`` are the routes, ``door`` is what they work with, ``entry`` says who may see what,
``cookie`` and ``answers`` are what a browser is sent. Pages need no script.
"""
