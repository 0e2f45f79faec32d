package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// connzPage is how many connections one answer lists; an answer is about 400 bytes a connection.
	connzPage = 4096
	// gatherStall ends the wait for further brokers once one has answered.
	gatherStall = 100 * time.Millisecond
	// maxSweeps bounds how often one revocation is tried before it is reported as failed and begun again.
	maxSweeps = 20
)

// sweeper lists and cuts connections, over a connection that may do nothing else.
type sweeper struct {
	nc *nats.Conn
	// admitted may be nil.
	admitted *admitted
}

// Sweep cuts the connections that are known of gone, then every device connection that may not stay, and looks again, until a look finds
// none. It returns how many the looks found. An error means that some may be left.
func (s sweeper) Sweep(ctx context.Context, stays func(user, clientID string) bool, gone []string) (cut int, err error) {
	s.cutKnown(ctx, gone)
	for range maxSweeps {
		brokers, err := s.brokers(ctx)
		if err != nil {
			return cut, err
		}
		left := 0
		for _, id := range brokers {
			n, err := s.cut(ctx, id, stays)
			if left += n; err != nil {
				return cut, err
			}
		}
		if left == 0 {
			return cut, nil
		}
		cut += left
	}
	return cut, fmt.Errorf("connections to cut kept coming back in %d sweeps", maxSweeps)
}

// brokers gives the ids of all brokers that answer.
func (s sweeper) brokers(ctx context.Context) ([]string, error) {
	inbox := s.nc.NewRespInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone, and the subscription with it
	ask, _ := json.Marshal(server.ConnzEventOptions{ConnzOptions: server.ConnzOptions{Limit: 1}})
	if err := s.nc.PublishRequest("$SYS.REQ.SERVER.PING.CONNZ", inbox, ask); err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	var ids []string
	for wait := 5 * time.Second; ; wait = gatherStall {
		next, cancel := context.WithTimeout(ctx, wait)
		msg, err := sub.NextMsgWithContext(next)
		cancel()
		switch {
		case err == nil:
			answer, err := connz(msg.Data)
			if err != nil {
				return nil, err
			}
			ids = append(ids, answer.ID)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case len(ids) > 0 && errors.Is(err, context.DeadlineExceeded):
			return ids, nil
		default:
			return nil, fmt.Errorf("list brokers: no answer: %w", err)
		}
	}
}

// cut kicks what may not stay on one broker and returns how many there were. All pages are read before the first kick:
// kicking shifts them.
func (s sweeper) cut(ctx context.Context, broker string, stays func(user, clientID string) bool) (int, error) {
	var gone []uint64
	for _, account := range []string{contract.AccountDevices, contract.AccountEdge} {
		for offset := 0; ; {
			page, err := s.page(ctx, broker, account, offset)
			if err != nil {
				return 0, err
			}
			for _, c := range page.Conns {
				// The platform's own roles are in the devices' account too, without a client id; nobody but edge nodes is in theirs.
				if (c.MQTTClient != "" || account == contract.AccountEdge) && !stays(c.AuthorizedUser, c.MQTTClient) {
					gone = append(gone, c.Cid)
				}
			}
			if offset += len(page.Conns); offset >= page.Total || len(page.Conns) == 0 {
				break
			}
		}
	}
	for _, cid := range gone {
		if err := s.kick(ctx, broker, cid); err != nil {
			return len(gone), err
		}
	}
	return len(gone), nil
}

func (s sweeper) page(ctx context.Context, broker, account string, offset int) (*server.Connz, error) {
	ask, _ := json.Marshal(server.ConnzEventOptions{ConnzOptions: server.ConnzOptions{
		Account: account, Username: true, Offset: offset, Limit: connzPage}})
	next, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	msg, err := s.nc.RequestWithContext(next, "$SYS.REQ.SERVER."+broker+".CONNZ", ask)
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return connz(msg.Data)
}

func (s sweeper) kick(ctx context.Context, broker string, cid uint64) error {
	ask, _ := json.Marshal(server.KickClientReq{CID: cid})
	next, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// An error in the answer means that the connection is gone already; the next look decides.
	if _, err := s.nc.RequestWithContext(next, "$SYS.REQ.SERVER."+broker+".KICK", ask); err != nil {
		return fmt.Errorf("cut connection: %w", err)
	}
	return nil
}

func connz(raw []byte) (*server.Connz, error) {
	var answer server.ServerAPIConnzResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("list connections: %w", answer.Error)
	}
	if answer.Data == nil {
		return nil, errors.New("list connections: empty answer")
	}
	return answer.Data, nil
}
