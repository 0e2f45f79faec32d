// Package offline does with files what the operator does with a cluster: it reads YAML, checks and defaults every object as
// the API server would, gathers a Snapshot per platform and compiles it. Nothing is asked of a cluster; what only a cluster
// has (generated passwords, issued certificates, Secrets that are not in the files) is replaced by fixed placeholders, and
// the result says so.
//
//	Read (files -> Objects) -> Gather (Objects -> Platforms with Snapshots) -> Compile (plans + findings) -> Render, Explain
//
// Every finding names file, line, object and field.
package offline
