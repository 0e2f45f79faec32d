// Command openapi writes the OpenAPI document of the grid service (3.0.3, which generators of clients read) into the file that it is given.
package main

import (
	"fmt"
	"os"

	"github.com/dizuo/dizuo/internal/node/grid"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments; write the file that gets the document", len(args))
	}
	raw, err := grid.OpenAPI()
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], raw, 0o644)
}
