-- The tables of the app that the recipes write to.
create table if not exists products (sku text primary key, name text not null, price numeric not null);
create table if not exists imports (file text not null, status text not null, lines int not null, failed int not null);

create table if not exists sent_mails (
  idempotency_key text primary key, user_id int not null, sent_at timestamptz not null default clock_timestamp()
);
create table if not exists unsent_mails (night text not null, user_id int not null);

create table if not exists scores (game_id int primary key, region text not null, points int not null);
create table if not exists winners (region text primary key, game_id int not null);
create table if not exists publications (batch_id text not null, winners int not null);

create table if not exists exchange_rates (currency text primary key, euros numeric not null);
create table if not exists converted_prices (order_id int primary key, euros numeric not null);
