"""The sections of the settings; `server.config` puts them together, and has the small ones.

ftp, mail, drop_folder, source   sections that need explaining
sections                         what all have in common
values                           what a single setting takes
environment                      how settings are written as variables
mistakes                         what is wrong with them, in words
"""
