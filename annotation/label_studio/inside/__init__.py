"""What runs inside Label Studio, in its environment: nothing of ours can be imported here.

The server has this folder on its path. `maskset_settings` are its settings, `maskset_project` and
`maskset_walls` keep organisations apart, `maskset_accounts` makes people.
"""
