-- PostgreSQL lets everybody run a function that it is not told to keep.
REVOKE ALL ON FUNCTION audit.only_erased(), audit.erase_bodies(timestamptz), audit.erase_body(text, bigint, uuid) FROM PUBLIC;
