//! Everything the end-to-end suites share. The suites themselves are in `tests/`: one binary, because linking it is what a
//! change costs most. They meet the mesh as its users do: through the edge's listeners, in the words of the API.
