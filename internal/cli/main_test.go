package cli

import (
	"os"
	"testing"
	"time"

	"github.com/dizuo/dizuo/test/postgres"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // goldens have times of the machine; it is read elsewhere at any time
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}
