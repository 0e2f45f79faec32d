package gateway

import (
	"os"
	"strings"
	"testing"
)

// The document in the repository is that of the API as it is: `make generate` writes it. It has nothing that 3.0.3 does not know.
func TestOpenAPIIsWritten(t *testing.T) {
	want, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../api/openapi/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("api/openapi/gateway.yaml is not as the API: run make generate")
	}
	for _, path := range []string{"/v1/datasets:", "/v1/datasets/{name}/records:", "/v1/datasets/{name}/aggregate:", "/v1/break-glass/{request}/review:", "openapi: 3.0.3"} {
		if !strings.Contains(string(got), path) {
			t.Errorf("the document lacks %s", path)
		}
	}
	if strings.Contains(string(got), "mutualTLS") {
		t.Error("the document has mutualTLS, which is of OpenAPI 3.1")
	}
}
