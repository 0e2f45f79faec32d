package story

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
)

// holder is a device that stays connected.
type holder struct {
	client mqtt.Client
	lost   chan error
	closed atomic.Bool
}

// connect connects a device that was enrolled in folder dir/<device>. It does not connect again when the connection is lost:
// lost tells.
func connect(broker, dir, caFile, fleet, device string) (*holder, error) {
	config, err := deviceTLS(dir, caFile, device)
	if err != nil {
		return nil, err
	}
	h := &holder{lost: make(chan error, 1)}
	o := mqtt.NewClientOptions().AddBroker(broker).SetClientID(contract.ClientID(fleet, device)).SetTLSConfig(config).
		SetCleanSession(true).SetAutoReconnect(false).SetKeepAlive(15 * time.Second).SetConnectTimeout(10 * time.Second).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { h.lost <- err })
	h.client = mqtt.NewClient(o)
	return h, wait(h.client.Connect())
}

// deviceTLS reads a device's credentials. The server is reached as localhost, a name that its certificate has.
func deviceTLS(dir, caFile, device string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, device, "tls.crt"), filepath.Join(dir, device, "tls.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil
}

// publish sends at QoS 1 and waits for the PUBACK.
func (h *holder) publish(topic, payload string) error {
	return wait(h.client.Publish(topic, 1, false, payload))
}

// close ends the connection; nil is allowed.
func (h *holder) close() {
	if h != nil && h.closed.CompareAndSwap(false, true) {
		h.client.Disconnect(250)
	}
}

// holds says whether the connection still stands.
func (h *holder) holds() error {
	select {
	case err := <-h.lost:
		return fmt.Errorf("the connection was lost: %w", err)
	default:
	}
	if !h.client.IsConnectionOpen() {
		return errors.New("the connection is not open")
	}
	return nil
}

const brokerPatience = 15 * time.Second

func wait(t mqtt.Token) error {
	if !t.WaitTimeout(brokerPatience) {
		return fmt.Errorf("the broker did not answer within %s", brokerPatience)
	}
	return t.Error()
}
