package gateway

import (
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// handler gives the API. Every path asks for a certificate of an organisation first.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	newAPI(mux, s)
	return s.measured(s.identified(mux))
}

// newAPI registers the API of a server.
func newAPI(mux *http.ServeMux, s *server) huma.API {
	config := huma.DefaultConfig("Dizuo gateway", "v1")
	config.DocsPath, config.CreateHooks = "", nil // no page of scripts, no $schema in answers
	config.RejectUnknownQueryParameters = true    // a mistyped fields= would ask for every field
	config.Info.Description = "Reads datasets under data sharing agreements. A client certificate or a token speaks for the organisation; personal data also needs a person's token. Refusals are problem documents (RFC 9457) with stable reasons, in the language of Accept-Language (zh or en)."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"certificate": {Type: "mutualTLS", Description: "Certificate of the organisation."},
		"token":       {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "Token of an OpenID Connect issuer of the platform that speaks for the organisation."},
	}
	config.Security = []map[string][]string{{"certificate": {}}, {"token": {}}}
	config.Transformers = append(config.Transformers, localised)
	api := humago.New(mux, config)
	huma.Register(api, huma.Operation{
		OperationID: "list-datasets", Method: http.MethodGet, Path: "/v1/datasets", Summary: "Datasets that this organisation has an agreement on",
		Responses: problemResponses(api),
	}, s.listDatasets)
	huma.Register(api, huma.Operation{
		OperationID: "read-records", Method: http.MethodGet, Path: "/v1/datasets/{name}/records", Summary: "Records of a dataset, as far as one agreement gives them",
		Responses: recordsResponses(api),
	}, s.readRecords)
	registerCatalog(api, s)
	registerBreakGlass(api, s)
	registerAggregate(api, s)
	return api
}

// OpenAPI gives the document of the whole API in YAML, as OpenAPI 3.0.3: the generators of clients read no later form. That form has no word
// for a client certificate, so there the token is one way and nothing the other.
func OpenAPI() ([]byte, error) {
	doc := newAPI(http.NewServeMux(), &server{}).OpenAPI()
	delete(doc.Components.SecuritySchemes, "certificate")
	doc.Security = []map[string][]string{{}, {"token": {}}}
	raw, err := doc.DowngradeYAML()
	if err != nil {
		return nil, fmt.Errorf("OpenAPI: %w", err)
	}
	return raw, nil
}
