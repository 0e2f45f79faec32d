// Package wire is the form of what an edge node and the hub say to each other: JSON, compressed where it is long.
package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	encodingHeader = "Content-Encoding"
	encodingGzip   = "gzip"
	// worthIt is the size in bytes below which nothing is compressed.
	worthIt = 512
	// maxBody bounds what a body may grow to: base64 and names around the payloads.
	maxBody = 4 * contract.MaxEdgeBatchBytes
)

// Encode makes a message of a body: JSON, compressed if it is long. Decode reads it.
func Encode(subject string, body any) (*nats.Msg, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	m := nats.NewMsg(subject)
	if m.Data = raw; len(raw) < worthIt {
		return m, nil
	}
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	m.Data = buf.Bytes()
	m.Header.Set(encodingHeader, encodingGzip)
	return m, nil
}

// Decode reads what Encode made. It takes no body of more than 1 MiB, however small it came.
func Decode(m *nats.Msg, body any) error {
	switch e := m.Header.Get(encodingHeader); e {
	case "":
		if len(m.Data) > maxBody {
			return fmt.Errorf("body has %d bytes; at most %d are taken", len(m.Data), maxBody)
		}
		return json.Unmarshal(m.Data, body)
	case encodingGzip:
		r, err := gzip.NewReader(bytes.NewReader(m.Data))
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		raw, err := io.ReadAll(io.LimitReader(r, maxBody+1))
		if err != nil {
			return fmt.Errorf("body: %w", err)
		}
		if len(raw) > maxBody {
			return fmt.Errorf("body has more than %d bytes", maxBody)
		}
		return json.Unmarshal(raw, body)
	default:
		return fmt.Errorf("%s %q: want gzip or none", encodingHeader, e)
	}
}
