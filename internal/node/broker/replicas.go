package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// replicateEvery is how often a broker looks whether the streams have the replicas that they should have, and
	// replicatedEvery how often once they have.
	replicateEvery  = 2 * time.Second
	replicatedEvery = 30 * time.Second
	// catchUpTimeout bounds the wait of a broker for its copies: one whose streams cannot be brought up to date serves all the same.
	catchUpTimeout = 5 * time.Minute
)

// catchUp waits until this broker's copies of the streams are up to date. A rollout takes the next broker when this one is ready: it
// must not take the second of two good copies.
func (b *Broker) catchUp(ctx context.Context, self string) error {
	bounded, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	err := until(bounded, 100*time.Millisecond, func() (bool, error) {
		streams := b.js.ListStreams(bounded)
		for info := range streams.Info() {
			if !current(info, self) {
				return false, nil
			}
		}
		return streams.Err() == nil, nil
	})
	if err != nil && ctx.Err() == nil {
		b.log.log.Warn("serves though a stream is not up to date here", "after", catchUpTimeout)
		return nil
	}
	return err
}

// current reports whether a broker's copy of a stream is up to date; of a stream that it has no copy of it has nothing to catch up.
func current(info *jetstream.StreamInfo, broker string) bool {
	if info.Cluster == nil || info.Cluster.Leader == broker {
		return true
	}
	for _, r := range info.Cluster.Replicas {
		if r.Name == broker {
			return r.Current && !r.Offline
		}
	}
	return info.Cluster.Leader != ""
}

// replicate brings every stream to the number of replicas that is configured, while the streams serve, until ctx ends. More
// come as soon as there are enough brokers. Fewer come by gather.
func (b *Broker) replicate(ctx context.Context, c contract.BrokerConfig) error {
	said := ""
	next := time.Time{}
	return until(ctx, replicateEvery, func() (bool, error) {
		if time.Now().Before(next) {
			return false, nil
		}
		var err error
		if first := c.Peers[0].Name == c.ServerName; c.Replicas < len(c.Peers) && first {
			err = b.gather(ctx, c)
			b.gathered.Store(err == nil)
		} else {
			err = b.spread(ctx, c.Replicas)
		}
		if text := fmt.Sprint(err); err != nil && text != said && ctx.Err() == nil {
			b.log.log.Info("the streams are not replicated as configured yet", "err", err)
			said = text
		}
		if err == nil && c.Replicas == len(c.Peers) {
			next = time.Now().Add(replicatedEvery)
		}
		return false, nil
	})
}

// spread raises the replicas of streams that have too few.
func (b *Broker) spread(ctx context.Context, replicas int) error {
	var failed error
	streams := b.js.ListStreams(ctx)
	for info := range streams.Info() {
		if info.Config.Replicas < replicas {
			failed = errors.Join(failed, b.setReplicas(ctx, info.Config, replicas))
		}
	}
	return errors.Join(streams.Err(), failed)
}

func (b *Broker) setReplicas(ctx context.Context, c jetstream.StreamConfig, replicas int) error {
	c.Replicas = replicas
	if _, err := b.js.UpdateStream(ctx, c); err != nil {
		return fmt.Errorf("stream %s: %d replicas: %w", c.Name, replicas, err)
	}
	return nil
}

// gather brings every stream to this broker alone and then takes the others out of the cluster, so that they can be stopped. A
// stream gives up its other replicas only while this broker leads it: the leader has all that was acknowledged.
func (b *Broker) gather(ctx context.Context, c contract.BrokerConfig) error {
	var waits error
	streams := b.js.ListStreams(ctx)
	for info := range streams.Info() {
		waits = errors.Join(waits, b.gatherStream(ctx, info, c.ServerName, len(c.Peers)))
	}
	if err := errors.Join(streams.Err(), waits); err != nil {
		return err
	}
	info, err := b.server.Jsz(nil)
	if err != nil || info.Meta == nil {
		return errors.New("the cluster has no leader")
	}
	if info.Meta.Size == 1 && info.Meta.Leader == c.ServerName {
		return nil
	}
	for _, p := range c.Peers[1:] {
		if err := removePeer(ctx, b.system, p.Name); err != nil {
			return err
		}
	}
	return fmt.Errorf("the cluster has %d brokers yet", info.Meta.Size)
}

// gatherStream takes a stream one step nearer; an error says that it is not there yet.
func (b *Broker) gatherStream(ctx context.Context, info *jetstream.StreamInfo, self string, brokers int) error {
	name := info.Config.Name
	switch mine := info.Cluster != nil && info.Cluster.Leader == self; {
	case mine && info.Config.Replicas == 1 && len(info.Cluster.Replicas) == 0:
		return nil
	case mine && info.Config.Replicas > 1:
		if err := b.setReplicas(ctx, info.Config, 1); err != nil {
			return err
		}
	case !mine && info.Config.Replicas == 1: // on another broker: a copy must come here first
		return b.setReplicas(ctx, info.Config, brokers)
	case !mine:
		if err := b.lead(ctx, name, self); err != nil {
			return err
		}
	}
	return fmt.Errorf("stream %s is not on this broker alone yet", name)
}

// lead asks the leader of a stream to step down for a broker. A broker that lags is not elected; then the next call asks again.
func (b *Broker) lead(ctx context.Context, stream, broker string) error {
	asked, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := b.own.RequestWithContext(asked, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, fmt.Appendf(nil, `{"placement":{"preferred":%q}}`, broker))
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) {
		return ctx.Err()
	}
	return err
}

// tellCluster adds to a report how the brokers stand together.
func (b *Broker) tellCluster(r *contract.Report) {
	info, err := b.server.Jsz(&server.JSzOptions{Streams: true, Config: true})
	if err != nil || info.Meta == nil {
		return
	}
	r.Broker = &contract.BrokerReport{Peers: info.Meta.Size, Leader: info.Meta.Leader, Gathered: b.gathered.Load()}
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			if s.Config != nil && (r.Broker.Replicas == 0 || s.Config.Replicas < r.Broker.Replicas) {
				r.Broker.Replicas = s.Config.Replicas
			}
		}
	}
}
