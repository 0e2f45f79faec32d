// Command openapi writes the OpenAPI document (3.0.3, which generators of clients read) of the service that it is given, grid or gateway, into
// the file that it is given.
package main

import (
	"fmt"
	"os"

	"github.com/dizuo/dizuo/internal/node/gateway"
	"github.com/dizuo/dizuo/internal/node/grid"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments; write grid or gateway, and the file that gets the document", len(args))
	}
	document, ok := map[string]func() ([]byte, error){"grid": grid.OpenAPI, "gateway": gateway.OpenAPI}[args[0]]
	if !ok {
		return fmt.Errorf("service %q has no document; write grid or gateway", args[0])
	}
	raw, err := document()
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], raw, 0o644)
}
