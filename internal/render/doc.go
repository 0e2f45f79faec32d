// Package render turns plans into Kubernetes objects, one file per component. It is pure, and each call gives new objects
// in the same order: applying an object overwrites it with the server's answer.
package render
