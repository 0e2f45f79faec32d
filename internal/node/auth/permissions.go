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
)

// Prefix is a device that a connection may speak for.
type Prefix struct{ Fleet, Device string }

// qos1Delivery is where the server delivers to a subscription at QoS 1. It allows that subject to MQTT clients unasked, so
// only a denial refuses such a subscription.
const qos1Delivery = "$MQTT.sub.>"

// down gives the channels of each device that the identity may subscribe to: as many as the fleet allows.
func (i Identity) down() []contract.Channel {
	all := contract.DownChannels()
	if n := int(i.Limits.Subscriptions); n > 0 && n < len(all) {
		return all[:n]
	}
	return all
}

// Permissions gives what an identity may do: publish up and subscribe down, on literal subjects. It
// needs no subject of the broker's own. Devices subscribe at QoS 0; a subscription at QoS 1 would be a JetStream consumer
// (34 KB and three goroutines) and is refused with SUBACK 0x80. An organisation hears its cases and says which it took. An identity without prefix, cloud and organisation has no permission at all.
func Permissions(id Identity) jwt.Permissions {
	var p jwt.Permissions
	for _, d := range id.Prefixes {
		for _, c := range contract.UpChannels() {
			p.Pub.Allow.Add(contract.DeviceSubject(d.Fleet, d.Device, c))
		}
		for _, c := range id.down() {
			p.Sub.Allow.Add(contract.DeviceSubject(d.Fleet, d.Device, c))
		}
	}
	if id.Cloud != "" {
		p.Pub.Allow.Add(contract.PlatformSubject(id.Cloud, contract.PlatformUp))
		p.Sub.Allow.Add(contract.PlatformSubject(id.Cloud, contract.PlatformDown))
	}
	if id.Organization != "" {
		p.Pub.Allow.Add(contract.OrganizationSubject(id.Organization, contract.OrganizationAcks))
		p.Sub.Allow.Add(contract.OrganizationSubject(id.Organization, contract.OrganizationCases))
	}
	p.Sub.Deny.Add(qos1Delivery)
	if len(p.Pub.Allow) == 0 { // empty lists would allow everything
		p.Pub.Deny.Add(">")
		p.Sub.Deny.Add(">")
	}
	return p
}

// expiry gives the end of a connection in Unix seconds: not later than that of its credential; jitter in [0,1) spreads it.
func expiry(id Identity, now time.Time, jitter float64) int64 {
	end := now.Add(connectionLife - time.Duration(jitter*jitterShare*float64(connectionLife)))
	if !id.Until.IsZero() && id.Until.Before(end) {
		end = id.Until
	}
	return end.Unix()
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
	uc.Expires = expiry(id, now, jitter)
	uc.Permissions = Permissions(id)
	// No limit of payload: the server closes a connection that is over it (since 2.15.3), and a device of QoS 1 would come back and send the same for
	// ever. What is larger than the fleet's limit is acknowledged, dropped and counted where it is read; the server's own limit bounds all. That of
	// subscriptions are the literal subjects, with no wildcard among them.
	uc.AllowedConnectionTypes.Add(jwt.ConnectionTypeMqtt)
	return uc
}
