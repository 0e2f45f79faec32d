// Package person reads and writes the tokens with which an organisation vouches for one of its people.
//
// A token is a JWT (RFC 7519) that the organisation signs with its own key. It says which organisation speaks (iss), about
// whom (sub, a pseudonym), in which role, and to which part of which platform (aud); it lives for minutes. The platform
// keeps no accounts of people: it knows organisations and their keys, from the directory of the bundle.
//
// The key travels in the token (x5c, RFC 7515 4.1.6, or jwk, 4.1.3) because the directory holds digests and certificate
// URIs only. What is carried proves nothing by itself: Verify takes it only if the directory binds that key or that
// certificate to the organisation named in iss.
//
// The package is pure: the time and the pool of roots are parameters.
package person
