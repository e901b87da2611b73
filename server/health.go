package server

import (
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/internal/authority"
)

// healthInterval is how old an answer of grpc.health.v1 may be.
const healthInterval = 250 * time.Millisecond

// watchHealth keeps grpc.health.v1 up to date, and the server's own log with it, by told, which has been told what updateHealth has said
// last. Why nothing is minted is said again only where it has become something else: the words may differ at every look.
func (s *Server) watchHealth(told *authority.Told, was error) {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.background.Done():
			return
		case <-tick.C:
			is := s.updateHealth()
			told.Look(s.background, is)
			if is != nil && was != nil && reasonFor(is) != reasonFor(was) {
				s.logger.ErrorContext(s.background, "minting has another reason to be stopped", slog.Any("error", causes(is)))
			}
			was = is
		}
	}
}

// reasonFor is the stable reason of an error of the core's.
func reasonFor(err error) authority.Reason {
	if e, ok := errors.AsType[*authority.Error](err); ok {
		return e.Reason
	}
	return authority.ReasonInternal
}

// updateHealth says of the server as a whole, and of the service that is what it is for, whether it can mint, and
// answers why it cannot; nil when it can.
func (s *Server) updateHealth() error {
	status, why := grpc_health_v1.HealthCheckResponse_SERVING, s.Ready()
	if why != nil {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	s.stopped.Store(why != nil)
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(signetv1.TokenService_ServiceDesc.ServiceName, status)
	return why
}
