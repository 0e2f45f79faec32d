package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

// bundleStream is the stream beneath the object store of bundles.
const bundleStream = "OBJ_" + contract.BundleStore

// readObject reads an object that fits a message.
func readObject(ctx context.Context, store jetstream.ObjectStore, name string) ([]byte, error) {
	info, err := store.GetInfo(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", name, err)
	}
	if info.Size > contract.MaxEdgeWhole {
		return nil, fmt.Errorf("object %s: %w: %d bytes, at most %d", name, edgeTooLarge, info.Size, contract.MaxEdgeWhole)
	}
	return store.GetBytes(ctx, name)
}

// readPart reads as much of an object as one answer may hold, and says in the header where the next part begins, how large the whole is
// and what its digest is. from is what an answer before said, or 0. It is a place in the stream of all objects, so that nothing has to be
// remembered between two parts, and any replica gives the next one; whatever it is, only parts of this object are given.
func readPart(ctx context.Context, js jetstream.JetStream, store jetstream.ObjectStore, name string, from uint64) ([]byte, nats.Header, error) {
	info, err := store.GetInfo(ctx, name)
	if err != nil {
		return nil, nil, fmt.Errorf("object %s: %w", name, err)
	}
	if info.Size > contract.MaxEdgeObject {
		return nil, nil, fmt.Errorf("object %s: %w: %d bytes, at most %d", name, edgeTooLarge, info.Size, contract.MaxEdgeObject)
	}
	sum, err := jetstream.DecodeObjectDigest(info.Digest)
	if err != nil {
		return nil, nil, fmt.Errorf("object %s: digest %q: %w", name, info.Digest, err)
	}
	stream, err := js.Stream(ctx, bundleStream)
	if err != nil {
		return nil, nil, fmt.Errorf("stream %s: %w", bundleStream, err)
	}
	var data []byte
	chunks := jetstream.WithGetMsgSubject("$O." + contract.BundleStore + ".C." + info.NUID)
	for len(data) < contract.MaxEdgePart {
		m, err := stream.GetMsg(ctx, max(from, 1), chunks)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("object %s: %w", name, err)
		}
		if len(data) > 0 && len(data)+len(m.Data) > contract.MaxEdgePart {
			break
		}
		data, from = append(data, m.Data...), m.Sequence+1
	}
	header := nats.Header{}
	header.Set(contract.EdgeNextHeader, strconv.FormatUint(from, 10))
	header.Set(contract.EdgeSizeHeader, strconv.FormatUint(info.Size, 10))
	header.Set(contract.EdgeDigestHeader, "sha256:"+hex.EncodeToString(sum))
	return data, header, nil
}
