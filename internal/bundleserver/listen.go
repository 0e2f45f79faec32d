package bundleserver

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

// Runnable runs a Server over HTTPS as a part of a manager.
type Runnable struct {
	*Server
	Address string
	// TLSDir holds tls.crt and tls.key, which are read again when they change.
	TLSDir string
}

// Start implements manager.Runnable.
func (r Runnable) Start(ctx context.Context) error {
	return process.ServeHTTP(ctx, &http.Server{
		Addr: r.Address, Handler: r.Handler(), MaxHeaderBytes: 16 << 10,
		TLSConfig:         process.ServerTLS(contract.TLSFiles{CertFile: filepath.Join(r.TLSDir, "tls.crt"), KeyFile: filepath.Join(r.TLSDir, "tls.key")}),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	})
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: a replica that does not lead says that it has nothing, to whoever
// asks it by its own address.
func (Runnable) NeedLeaderElection() bool { return false }
