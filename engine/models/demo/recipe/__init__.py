"""How the demo's models and recordings were made, to make them again. For developers: nothing in the engine imports it.

Needs Debian's ``espeak-ng`` and ``flite`` and the development packages of this project. CARD.md beside this package says which
steps were run with which figures.
"""
