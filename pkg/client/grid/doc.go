// Package grid is the Go client of the grid service's REST API: types, and a method for each operation. `make generate` makes it from
// api/openapi/grid.yaml.
//
// A system of an organisation shows its client certificate: in the TLS configuration of the http.Client that WithHTTPClient takes. A person's token goes
// into the header Authorization, by WithRequestEditorFn. Of an answer the field of its status is set, such as JSON200 or ApplicationproblemJSONDefault;
// an error says that there was no answer, or none that could be read.
package grid
