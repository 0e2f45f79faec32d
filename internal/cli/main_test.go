package cli

import (
	"os"
	"testing"

	"github.com/dizuo/dizuo/test/postgres"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}
