package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// FetchedFile lies beside the lines of a chain that were taken out of the platform's store. Beside the chains lie the public keys that the
// store knows; whoever trusts nobody compares them by another way.
const (
	FetchedFile       = "fetched.json"
	FetchedBundleKeys = "bundle-keys.pem"
	FetchedAuditKeys  = "audit-keys.pem"
)

// Fetched says of a chain that was taken out of the platform's store what is meant to be here.
type Fetched struct {
	// From is the time from which on lines were asked for; zero asks for all.
	From time.Time `json:"from,omitzero"`
	// AsOf is the time up to which every line is said to be here.
	AsOf time.Time `json:"asOf"`
	// Erased lists lines whose record was erased by a receipt, as the store says. What went by its age is not in it.
	Erased []Erased `json:"erased,omitempty"`
	// Receipts are those that Erased names by their IDs: signed, as compact JWS.
	Receipts map[string]string `json:"receipts,omitempty"`
}

// ReadFetched reads what lies beside the lines; a folder that a gateway wrote has none, which gives nil.
func ReadFetched(fsys fs.FS) (*Fetched, error) {
	raw, err := fs.ReadFile(fsys, FetchedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f Fetched
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", FetchedFile, err)
	}
	return &f, nil
}
