"""What the hostile campaign (``python -m bench.hostile_campaign``) is made of.

tasks      numbered tasks, hostile and innocent, their right answers                             } pure
judge      what came of them: right, lost, twice; whose time it was                              }
marks      what actions note: when, where and by whom each task was begun and ended
innocent   actions that anybody can hurt, and that tell whether somebody did     } the provider
hostile    40 actions that do to their worker what actions have done elsewhere   }
service    a server that answers one request after the other on a connection, as databases do
daemon     the daemon of a campaign
"""
