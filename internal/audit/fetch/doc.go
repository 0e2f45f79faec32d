// Package fetch takes the decision logs of gateways out of the platform's store, as the folder that the gateways wrote: lines, lists of
// subjects, checkpoints with their receipts, and beside the chains the signed parts of the policy and all public keys that ever signed.
//
// It copies and judges nothing: what was changed in the store is found by whoever verifies the folder.
package fetch
