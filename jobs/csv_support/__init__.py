"""Reading CSV files of any size, for ``import_csv``."""
