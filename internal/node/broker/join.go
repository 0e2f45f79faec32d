package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// ClusterPath is where a broker tells the others, on its health address, how it stands; see standing.
const ClusterPath = "/cluster"

// standing is what a broker tells the others.
type standing struct {
	// Founded says that its store belongs to a cluster.
	Founded bool `json:"founded"`
	// Ready says that it serves.
	Ready bool `json:"ready"`
}

// step is what a broker whose store is empty does next.
type step int

const (
	stepWait step = iota
	stepFound
	stepJoin
)

// next decides it. Only the first broker founds the cluster, and only when every other has said that it belongs to none: two
// clusters that meet would lose what one of them holds. All others join, one after the other, each when those before it serve:
// two that join at once might elect a leader among themselves. A standing that is not known is nil.
func next(self int, others map[int]*standing) step {
	anybody, all := false, true
	for i, o := range others {
		switch {
		case o == nil:
			all = false
		case o.Founded:
			anybody = true
			if self == 0 && !o.Ready {
				return stepWait
			}
		}
		if i < self && (o == nil || !o.Ready) {
			return stepWait
		}
	}
	switch {
	case anybody:
		return stepJoin
	case self == 0 && all:
		return stepFound
	}
	return stepWait
}

// enter founds the cluster or waits until this broker may join it. A broker whose store belongs to one goes on at once.
func enter(ctx context.Context, c contract.BrokerConfig, log *slog.Logger) error {
	self := slices.IndexFunc(c.Peers, func(p contract.PeerConfig) bool { return p.Name == c.ServerName })
	if founded(c.StoreDir) {
		return nil
	}
	said := step(-1)
	return until(ctx, time.Second, func() (bool, error) {
		others := map[int]*standing{}
		for i, p := range c.Peers {
			if i != self {
				others[i] = ask(ctx, p)
			}
		}
		to := next(self, others)
		if to != said {
			said = to
			log.Info([]string{"waits for the other brokers before it founds or joins the cluster", "founds the cluster", "joins the cluster"}[to])
		}
		if to == stepFound {
			return true, found(ctx, c.ServerName, c.StoreDir)
		}
		return to == stepJoin, nil
	})
}

// ask gives the standing of another broker; nil if it does not answer.
func ask(ctx context.Context, p contract.PeerConfig) *standing {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Health+ClusterPath, http.NoBody)
	if err != nil {
		return nil
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	s := &standing{}
	if response.StatusCode != http.StatusOK || json.NewDecoder(http.MaxBytesReader(nil, response.Body, 1<<10)).Decode(s) != nil {
		return nil
	}
	return s
}

// tellStanding answers the other brokers.
func tellStanding(storeDir string, ready func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(standing{Founded: founded(storeDir), Ready: ready() == nil})
	}
}

// checkPeers refuses a list of brokers that this one is not in.
func checkPeers(c *contract.BrokerConfig) error {
	if !slices.ContainsFunc(c.Peers, func(p contract.PeerConfig) bool { return p.Name == c.ServerName }) {
		return fmt.Errorf("broker.peers: %s is not among them; name every broker of the platform, this one too", c.ServerName)
	}
	for i, p := range c.Peers {
		if p.Route == "" || (len(c.Peers) > 1 && p.Health == "") {
			return fmt.Errorf("broker.peers[%d]: route and health are required", i)
		}
	}
	if c.Replicas > len(c.Peers) {
		return errors.New("broker.replicas: no more than there are brokers.peers")
	}
	return nil
}
