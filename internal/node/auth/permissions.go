package auth

import (
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// connectionLife is how long a connection lasts before it must prove itself again; jitterShare of it is shaved off at
	// random, so that a fleet that came together does not come back together.
	connectionLife = 24 * time.Hour
	jitterShare    = 0.25

	// maxSubscriptions and maxPayload (bytes) bound a connection. nats-server 2.15 drops both when a JWT comes from an auth
	// callout outside operator mode; what binds there is that a device is allowed two literal subjects and no wildcard,
	// and the server's own payload limit. They are set for the version that heeds them.
	maxSubscriptions = 8
	maxPayload       = 64 << 10
)

// Prefix is a device that a connection may speak for.
type Prefix struct{ Fleet, Device string }

// qos1Delivery is where the server delivers to a subscription at QoS 1. It allows that subject to MQTT clients unasked, so
// only a denial refuses such a subscription.
const qos1Delivery = "$MQTT.sub.>"

// Permissions gives what a connection with these prefixes may do: publish up and subscribe down, on literal subjects. It
// needs no subject of the broker's own. Devices subscribe at QoS 0; a subscription at QoS 1 would be a JetStream consumer
// (34 KB and three goroutines) and is refused with SUBACK 0x80. No prefix means no permission at all.
func Permissions(prefixes []Prefix) jwt.Permissions {
	var p jwt.Permissions
	for _, d := range prefixes {
		for _, c := range contract.UpChannels() {
			p.Pub.Allow.Add(contract.DeviceSubject(d.Fleet, d.Device, c))
		}
		for _, c := range contract.DownChannels() {
			p.Sub.Allow.Add(contract.DeviceSubject(d.Fleet, d.Device, c))
		}
	}
	p.Sub.Deny.Add(qos1Delivery)
	if len(prefixes) == 0 { // empty lists would allow everything
		p.Pub.Deny.Add(">")
		p.Sub.Deny.Add(">")
	}
	return p
}

// expiry gives the end of a connection in Unix seconds; jitter in [0,1) spreads it.
func expiry(now time.Time, jitter float64) int64 {
	return now.Add(connectionLife - time.Duration(jitter*jitterShare*float64(connectionLife))).Unix()
}

// Claims gives the user JWT's content for an identity. userKey is the public key that the broker made for this connection;
// jitter in [0,1) spreads the expiry.
func Claims(id Identity, userKey string, now time.Time, jitter float64) *jwt.UserClaims {
	if id.Edge != "" {
		return edgeClaims(id, userKey, now, jitter)
	}
	uc := jwt.NewUserClaims(userKey)
	uc.Name = id.User()
	uc.Audience = contract.AccountDevices
	uc.IssuedAt = now.Unix()
	uc.Expires = expiry(now, jitter)
	uc.Permissions = Permissions(id.Prefixes)
	uc.Limits.Subs = maxSubscriptions * int64(max(1, len(id.Prefixes)))
	uc.Limits.Payload = maxPayload
	uc.AllowedConnectionTypes.Add(jwt.ConnectionTypeMqtt)
	return uc
}
