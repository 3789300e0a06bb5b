"""What an upgrade meets: tables of the first release, runs half done, workers of old code."""
