"""The sections of the settings; `server.config` puts them together.

environment   how settings are written as variables
mistakes      what is wrong with them, in words
"""
