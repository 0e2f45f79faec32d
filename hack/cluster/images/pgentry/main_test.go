// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSettingsReadThePasswordFile(t *testing.T) {
	env := map[string]string{"POSTGRES_USER": "dizuo", "POSTGRES_PASSWORD_FILE": "/secret/password"}
	s, err := readSettings(func(k string) string { return env[k] }, func(string) ([]byte, error) { return []byte("pa ss\n"), nil })
	if err != nil {
		t.Fatal(err)
	}
	if s.password != "pa ss" || s.database != "dizuo" || s.user != "dizuo" {
		t.Errorf("got %+v", s)
	}
	_, err = readSettings(func(k string) string { return env[k] }, func(string) ([]byte, error) { return nil, errors.New("absent") })
	if err == nil {
		t.Error("a password file that cannot be read is not reported")
	}
}

func TestHBADemandsTLSWhereThereIsTLS(t *testing.T) {
	if rules := hbaRules(true); strings.Contains(rules, "\nhost ") {
		t.Errorf("plain connections are let in:\n%s", rules)
	}
	if rules := hbaRules(false); strings.Contains(rules, "hostssl") || !strings.Contains(rules, "scram-sha-256") {
		t.Errorf("got:\n%s", rules)
	}
}

// A crash may come after any of the moves: the next start must finish what is staged.
func TestMoveUpContinuesAfterACrash(t *testing.T) {
	for moved := range 3 {
		data := t.TempDir()
		staging := filepath.Join(data, stagingName)
		if err := os.Mkdir(staging, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"base", "global", "PG_VERSION", stagedMarker} {
			dir := staging
			if i < moved {
				dir = data
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if initialised(data) {
			t.Fatal("half moved passes for initialised")
		}
		if err := (settings{data: data}).initialise(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"base", "global", "PG_VERSION"} {
			if _, err := os.Stat(filepath.Join(data, name)); err != nil {
				t.Errorf("after %d moves: %v", moved, err)
			}
		}
	}
}

func TestServerArgsKeepTheCallersSettings(t *testing.T) {
	args := strings.Join(serverArgs("/data", true, []string{"postgres", "-c", "shared_buffers=32MB"}), " ")
	if !strings.HasSuffix(args, "-c shared_buffers=32MB") || !strings.Contains(args, "ssl=on") || strings.Contains(args, " postgres ") {
		t.Errorf("got %s", args)
	}
}

func TestQuoteIdentifier(t *testing.T) {
	if got := quoteIdentifier(`a"b`); got != `"a""b"` {
		t.Errorf("got %s", got)
	}
}
