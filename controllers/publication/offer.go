package publication

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/bundleserver"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
)

// offer hands what is in force to the server of bundles. The tarball is made when somebody asks for it.
func (r *Reconciler) offer(name types.NamespacedName, signer *seal.Signer, trusted []byte, parts bundle.Parts, index contract.Index, lease contract.Lease) error {
	if r.Bundles == nil {
		return nil
	}
	jws, err := signer.Lease(lease)
	if err != nil {
		return err
	}
	r.Bundles.Set(name, bundleserver.Offer{
		Version: policyVersion(index) + "." + signer.KeyID[:16], Keys: trusted, Lease: jws,
		Policy: func() ([]byte, error) {
			policy, err := bundle.Policy(parts)
			if err != nil {
				return nil, err
			}
			return signer.Shard(policy)
		},
	})
	return nil
}

// policyVersion names the content of the shards that bundle.Policy joins.
func policyVersion(index contract.Index) string {
	var of contract.Index
	for _, ref := range index.Shards {
		if ref.Name == contract.ShardAccess || strings.HasPrefix(ref.Name, contract.ShardGrants) {
			of.Shards = append(of.Shards, ref)
		}
	}
	return of.Revision()
}
