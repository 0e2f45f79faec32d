package pgpool

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Parse reads a connection string: postgres://user:password@host:port/database?sslmode=verify-full. Lines of PEM behind it are the CA of the
// server; without them it must stand under a public one. Errors do not repeat it: it holds a password. The environment says nothing. The caller
// bounds the pool and says what is set in a session.
func Parse(text string) (*pgxpool.Config, error) {
	dsn, ca, _ := strings.Cut(strings.TrimSpace(text), "\n")
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.User == nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("the connection string is not postgres://user:password@host:port/database?sslmode=verify-full")
	}
	if strings.ContainsAny(u.Hostname(), "/,@") {
		return nil, errors.New("the connection string names no single host")
	}
	for key, values := range u.Query() {
		if key != "sslmode" || len(values) != 1 || values[0] != "verify-full" {
			return nil, fmt.Errorf("the connection string has the parameter %q: sslmode=verify-full is the only one that is taken", key)
		}
	}
	port := uint64(5432)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return nil, errors.New("the connection string has no valid port")
		}
	}
	roots := (*x509.CertPool)(nil)
	if strings.TrimSpace(ca) != "" {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the CA behind the connection string is not PEM")
		}
	}
	cfg, err := pgxpool.ParseConfig("sslmode=disable") // TLS is set below, always; the environment is overridden field by field
	if err != nil {
		return nil, err
	}
	cc := cfg.ConnConfig
	cc.Host, cc.Port, cc.Database, cc.User, cc.Fallbacks = u.Hostname(), uint16(port), strings.Trim(u.Path, "/"), u.User.Username(), nil
	cc.Password, _ = u.User.Password()
	cc.TLSConfig = &tls.Config{RootCAs: roots, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	cc.ConnectTimeout, cc.RuntimeParams = 5*time.Second, nil
	return cfg, nil
}
