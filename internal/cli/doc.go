// Package cli is the command line `dizuo` (also `kubectl dizuo`), one file per command. Commands that work on files ask
// nothing of a cluster; the others reach it with the caller's own kubeconfig, certificate or token.
package cli
