"""`synccash drill`: real processes under real trouble, and an audit of the rails' own books."""
