\set d random(2, 10000)
\set c 1
\set a random(1, 1000)
SELECT n.post_one(gen_random_uuid(),:d,:c,:a);
