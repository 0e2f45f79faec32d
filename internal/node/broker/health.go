package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// healthTimeout bounds a question to a server in this process.
const healthTimeout = 5 * time.Second

// storeErr says what of a server's store takes no more until it is started anew, or nil. The server gives up a stream whose write failed, and
// goes on with the others: it takes connections then that it cannot keep. What else ails it, such as a quorum that is missing, passes by
// itself and is no matter here. A server that does not answer in time is asked again by whoever asks.
func storeErr(s *server.Server, system *nats.Conn) error {
	if !s.JetStreamEnabled() {
		return errStoreEnded
	}
	reply, err := system.Request(fmt.Sprintf("$SYS.REQ.SERVER.%s.HEALTHZ", s.ID()), []byte(`{"details":true}`), healthTimeout)
	if err != nil {
		return nil //nolint:nilerr // it does not say that it cannot keep anything
	}
	var health server.ServerAPIHealthzResponse
	if json.Unmarshal(reply.Data, &health) != nil || health.Data == nil {
		return nil
	}
	for _, e := range health.Data.Errors {
		if strings.Contains(e.Error, "write error") {
			return fmt.Errorf("%w: %s", errStoreEnded, e.Error)
		}
	}
	return nil
}
