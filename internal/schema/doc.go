// Package schema does offline what the API server does with an object of group dizuo.io before it stores it: unknown fields
// are found, defaults filled in, and the object is checked against the OpenAPI schema and the CEL rules of its
// CustomResourceDefinition. It runs the API server's own code (k8s.io/apiextensions-apiserver) over the embedded CRDs, so
// that a digest taken here equals one taken there.
//
//	For(kind) -> Prepare (prune, default) -> Validate (OpenAPI, list types, metadata, CEL)
//
// It is pure: no client and no clock.
package schema
