CREATE TABLE products (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  cents INTEGER NOT NULL CHECK (cents >= 0),
  -- Whatever runs at the same time: what is not there cannot be sold.
  stock INTEGER NOT NULL CHECK (stock >= 0)
);
