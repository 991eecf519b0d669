-- The command lines mysql and mariadb: errors, warnings, delimiters, files, tee, charsets, transactions.
SELECT '## statements';
CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), at TIMESTAMP DEFAULT '2020-01-01 00:00:00');
INSERT INTO item (name) VALUES ('ä'), ('🐬'), (NULL);
SELECT * FROM item\G
SELECT 1 AS one; SELECT nix; SELECT 2 AS two;
SELECT * FROM nowhere;
DESCRIBE item;
SHOW CREATE TABLE item\G
SHOW TABLES;
\u matrix
SELECT DATABASE();
\u
SELECT '## transactions';
BEGIN; INSERT INTO matrix_own.item (name) VALUES ('rolled back'); ROLLBACK;
SET autocommit = 0;
INSERT INTO matrix_own.item (name) VALUES ('committed');
COMMIT;
SET autocommit = 1;
SELECT COUNT(*), SUM(id > 0) FROM matrix_own.item;
SELECT '## settings';
SET NAMES latin1;
SELECT @@character_set_client;
SET NAMES utf8mb4;
SET @a = 5, @b = 'text';
SELECT @a, @b;
SET time_zone = '+03:00';
SELECT @@time_zone;
charset utf8mb4
PREPARE p FROM 'SELECT ? + 1 AS v'; SET @n = 41; EXECUTE p USING @n; DEALLOCATE PREPARE p;
SELECT '## file';
LOAD DATA LOCAL INFILE 'tests/drivers/mysql_client/rows.txt' INTO TABLE matrix_own.item (id, name);
SELECT name FROM matrix_own.item WHERE id > 100;
DROP TABLE matrix_own.item;
SELECT '## end';
