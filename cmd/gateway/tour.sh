# 200: a read with a token
curl -s -i -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/orders/42
# 200: the same by a token of the other issuer, whose key set is fetched
curl -s -i -H "Authorization: Bearer $PARTNER" $GATEWAY/v1/orders/42
# 401: no token
curl -s -i $GATEWAY/v1/orders/42
# 403: a token without the scope orders:read
curl -s -i -H "Authorization: Bearer $NARROW" $GATEWAY/v1/orders/42
# 429: the fifth report in a row; see RateLimit and Retry-After
for i in 1 2 3 4; do curl -s -o /dev/null -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/reports; done; curl -s -i -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/reports
# 201: a write with its key
curl -s -i -X POST -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: order-$RUN" -d '{"item":"book"}' $GATEWAY/v1/orders
# 201 again, Idempotent-Replayed: true: the retry did not execute
curl -s -i -X POST -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: order-$RUN" -d '{"item":"book"}' $GATEWAY/v1/orders
# 422: the same key with another body
curl -s -i -X POST -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: order-$RUN" -d '{"item":"car"}' $GATEWAY/v1/orders
# 503 upstream-open: payments fails, its breaker opens
curl -s -o /dev/null -X POST $PAYMENTS/mode/failing; for i in 1 2 3 4 5; do curl -s -o /dev/null -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/payments; done; curl -s -i -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/payments
# 200: payments works again; after 2 s a probe finds out and the breaker closes
curl -s -o /dev/null -X POST $PAYMENTS/mode/normal; sleep 2.1; curl -s -i -H "Authorization: Bearer $TOKEN" $GATEWAY/v1/payments
