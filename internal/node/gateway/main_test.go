package gateway

import (
	"os"
	"testing"

	"github.com/dizuo/dizuo/test/postgres"
)

// TestMain stops PostgreSQL after the tests, and turns the test binary into the gateway that TestKill kills.
func TestMain(m *testing.M) {
	if path := os.Getenv(childWorld); path != "" {
		child(path)
		return
	}
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}
