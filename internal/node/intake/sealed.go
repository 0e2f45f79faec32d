package intake

import (
	"os"

	"github.com/dizuo/dizuo/internal/contract"
)

// Digest gives the digest of a shard of the bundle; empty if it has no shard of that name.
func (b *Bundle) Digest(shard string) string {
	for _, ref := range b.index.Shards {
		if ref.Name == shard {
			return ref.Digest
		}
	}
	return ""
}

// Index lists the shards of the bundle.
func (b *Bundle) Index() contract.Index { return b.index }

// Signed gives the signed lease of the newest bundle with the index that it names, and the folder with its shards as they were sent: see
// SealedName. It may be a later one than a caller has been given.
func (i *Intake) Signed() (lease string, index contract.Index, dir string, err error) {
	k, err := i.disk.read()
	return k.Lease, k.Index, i.disk.dir, err
}

// SealedName gives the name of the file of a shard as it was sent.
func SealedName(digest string) string { return fileName("shard", digest) }

// Link puts a file under a second name, so that the first may go; one that is there stays.
func Link(from, to string) error {
	err := os.Link(from, to)
	if os.IsExist(err) {
		return nil
	}
	return err
}
